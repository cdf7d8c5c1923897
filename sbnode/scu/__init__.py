"""Sending: one object to one destination. Retrying is the queue's business."""
