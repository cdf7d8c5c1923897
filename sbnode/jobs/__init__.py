"""What makes the way from a complete study to delivered results survive a crash.

    study      chosen: which series, or why none         workflow "study",   queue "study"
    job        processed: results in the spool           workflow "process", queue "inference"
    delivery   one object sent to one destination        workflow "deliver", queue "delivery.<destination>"

A job is named by its key, a delivery by job, destination and object; the queue runs each name once. The queue
holds names and outcomes alone: which instances belong to a name stands in a manifest in the spool, and so do
the pixels.
"""
