"""The mediator: keeps and passes on messages for parties who cannot be called.

`queues` has what is kept, with its bounds; `mediator` answers messages; `server` is HTTP and
WebSocket. It can read no message that it passes on.
"""
