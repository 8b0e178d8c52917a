"""The BitTorrent mainline DHT (BEP 5, 32, 42, 43, 44): an engine without I/O, and its trio driver.

`Engine` takes datagrams and time and gives datagrams and events; what it is asked for are
operations (`GetItem`, `PutItem`, `GetPeers`, `Announce`). `node` runs it on UDP sockets.
"""
