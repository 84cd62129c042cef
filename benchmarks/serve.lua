-- For wrk: post the given files, which are whole bodies, by turns; print the outcome as one line of JSON.
local bodies, turn, head = {}, 0, {}

function init(arguments)
  head["Content-Type"] = "multipart/form-data; boundary=" .. arguments[1]
  for at = 2, #arguments do
    local file = io.open(arguments[at], "rb")
    bodies[#bodies + 1] = file:read("*a")
    file:close()
  end
end

function request()
  turn = turn % #bodies + 1
  return wrk.format("POST", "/predict", head, bodies[turn])
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "failed": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    e.connect + e.read + e.write + e.status + e.timeout))
end
