"""The bus: durable records in topics, delivered to the consumers of subscriptions."""
