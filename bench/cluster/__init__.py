"""The cluster, beside the bare store that it stands on."""
