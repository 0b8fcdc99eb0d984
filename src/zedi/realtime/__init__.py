"""The realtime collaboration service: Yjs documents over WebSockets, journaled in PostgreSQL.

    wire       sans-I/O codec of the protocol: bytes <-> messages, bounds-checked, no sockets, no clock
    structure  whether bytes are a Yjs update that is safe to decode
    session    sans-I/O state of one socket: authenticated documents, queues, limits, what to send when
    history    all updates of one document as merged runs: state vector, what a reader lacks, what is new
    room       one open document: readers, presence, the turn's merging, numbers
    hub        opens and closes rooms: one load in flight, references counted, generations
    journal    append, read from a number on; group commit; PostgreSQL
    compaction what a document's updates say as one snapshot; a process of its own
    compactor  when a document is compacted; starts and ends that process
    fanout     numbered publish and subscribe between tasks; Redis
    archive    versions of pages that left the database; S3
    access     tokens (Cognito's keys given or fetched, cached by key ID) and who may open a page
    server     sockets, health, signals, drain
    parser     WebSocket frames, read by picows, which does nothing else
    strangers  bounds what sockets without a good token may make us keep
    unfinished bounds what the others may make us keep of messages that are not whole yet
    frames     WebSocket frames, made once for all readers
    metrics    what is counted, for CloudWatch and for Prometheus
    log        JSON lines: events, and metrics in the embedded format
    config     the environment that the task definition gives, parsed once

May import: contract, errors, schema. Never settings, phases or deploy: a running service knows only its
environment.
"""
