"""Comparing tested experiments: is one better than another, or can the test images not tell?"""
