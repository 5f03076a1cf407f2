-- renew    KEYS: turn lease    ARGV: attempt token lease_ms    -> 1 | FENCED
-- include: fence
return fence(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3]) or 1
