"""What answers over HTTP: `vpt serve`. From the outside to the inside:

wire      connections: deadlines, errors of HTTP itself, an orderly end
guard     around every request: its size, its time, its host, its line in the log
access    tokens, roles, and how often each may ask
app       the endpoints; `page` is the one for people
desk      which version answers each task now; `sources` says which one should
lanes     one backbone, its tasks, and the pass that answers images of all of them; `batches` is its queue
pictures  the bytes of an image, decoded as `vpt predict` decodes a file

settings, logs, metrics and keeping (answers are recorded behind the service's back) stand beside these.
"""
