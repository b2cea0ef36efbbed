"""What training reports to, and how much of it a user has to write."""

from mm_jax.experiments.observer import Observer


class OnlyMessages(Observer):
    def __init__(self):
        self.texts = []

    def message(self, text):
        self.texts.append(text)


def test_every_method_may_be_left_out():
    observer = OnlyMessages()
    observer.message("resumed")
    observer.warning("damaged")
    observer.progress(1000, 2.5)
    assert observer.texts == ["resumed"]


def test_nothing_is_stopped_unless_it_is_asked_for():
    assert Observer().should_stop() is False
