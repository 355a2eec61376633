"""Operations that no task waits for any more are found by the records of their tasks, and cancelled."""
