"""An actor whose working thread has ended is a zombie that answers and does nothing: better that it dies."""

import logging
import os
import threading

logger = logging.getLogger(__name__)


def die_with_any_thread() -> None:
    """From now on an exception that ends a thread ends the process, so that Ray starts the actor again."""

    def die(args: threading.ExceptHookArgs) -> None:
        exception = (args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback)
        name = args.thread.name if args.thread else "?"
        logger.critical("thread %s ended by an error, and this process with it", name, exc_info=exception)
        logging.shutdown()
        os._exit(1)

    threading.excepthook = die
