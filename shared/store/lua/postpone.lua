-- postpone    KEYS: open_turns    ARGV: run_id delay_ms    -> 1    The sweep looks at the turn after so many ms.
-- include: time
redis.call('ZADD', KEYS[1], 'XX', now_ms() + ARGV[2], ARGV[1])
return 1
