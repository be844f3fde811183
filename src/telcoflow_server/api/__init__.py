"""The rim towards the network: control link, media link, REST."""
