"""Large objects sent to another process."""

import io
import pickle
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any


def send_large(connection: Connection, value: object) -> None:
    """Send an object without a copy of the arrays in it: `connection.send` takes twice their memory."""
    buffers: list[pickle.PickleBuffer] = []
    message = io.BytesIO()
    # By place, for multiprocessing's pickler takes no names; the last one keeps arrays out of the message.
    ForkingPickler(message, 5, True, buffers.append).dump(value)
    connection.send(len(buffers))
    connection.send_bytes(message.getbuffer())
    for buffer in buffers:
        connection.send_bytes(buffer.raw())


def receive_large(connection: Connection) -> Any:
    """Return what `send_large` sent; its arrays can only be read."""
    num_buffers = connection.recv()
    message = connection.recv_bytes()
    return pickle.loads(message, buffers=[connection.recv_bytes() for _ in range(num_buffers)])
