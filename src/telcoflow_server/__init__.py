"""The server: phones, mixing, control and media links. Imports only the SDK's protocol and audio."""
