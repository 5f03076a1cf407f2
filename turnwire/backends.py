"""Model servers for hooks: the OpenAI-compatible backend, the offline demo, and the messages that they speak."""

from turnwire.worker.backends.demo import DemoHooks
from turnwire.worker.backends.messages import assistant_message, tool_message
from turnwire.worker.backends.model_request import ModelRequest, model_request
from turnwire.worker.backends.models import Models, ModelsHooks
from turnwire.worker.backends.openai import OpenAIBackend
from turnwire.worker.backends.openai_hooks import OpenAIHooks
from turnwire.worker.backends.sdk_client import sdk_client

__all__ = [
    "DemoHooks",
    "ModelRequest",
    "Models",
    "ModelsHooks",
    "OpenAIBackend",
    "OpenAIHooks",
    "assistant_message",
    "model_request",
    "sdk_client",
    "tool_message",
]
