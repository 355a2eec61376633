"""``HttpEventTrigger`` loads the module of its check again at each poll, so this one is as small as can be."""


async def never(response: object) -> bool:
    """Not yet."""
    return False
