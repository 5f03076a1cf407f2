-- due    KEYS: open_turns    ARGV: limit sweep_ms    -> run_id, mark, … that nobody touched for long; each is handed out once a sweep_ms
-- include: time
local now = now_ms()
local reply = {}
for _, run_id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])) do
    redis.call('ZADD', KEYS[1], now + ARGV[2], run_id)
    reply[#reply + 1] = run_id
    reply[#reply + 1] = string.format('%d', now + ARGV[2])
end
return reply
