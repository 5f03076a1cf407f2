-- due    KEYS: open_turns    ARGV: limit sweep_ms    -> ms until the next one or -1, run_id, mark, … that are due; each is handed out once a sweep_ms
-- include: time
local now = now_ms()
local mark = string.format('%d.5', now + ARGV[2])  -- unlike that of an enqueue in the same ms: forget tells them apart
local reply = {-1}
local entries = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[1] + 1)
for i = 1, #entries, 2 do
    local run_id, due = entries[i], tonumber(entries[i + 1])
    if due > now or i > ARGV[1] * 2 then
        reply[1] = math.max(due - now, 0)
        break
    end
    redis.call('ZADD', KEYS[1], mark, run_id)
    reply[#reply + 1] = run_id
    reply[#reply + 1] = mark
end
return reply
