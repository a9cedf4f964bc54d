"""Transport: framed messages over TCP on the loopback, with a server, a client and a thread for both.

Reading order: framing.py (bytes on the wire), hub.py (server), client.py, link.py (the thread of both).
"""
