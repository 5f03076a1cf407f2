-- persisted    KEYS: session turns open turn steps events signals ledger    ARGV: done(0|1) final_text retention_ms    -> tries so far | -1 nothing is pending
-- Marks the answer as stored by the product, or counts a try that failed; either way the turn is kept for its retention.
local open, turn = KEYS[3], KEYS[4]
local done, final_text, retention_ms = unpack(ARGV)
local state = redis.call('HMGET', turn, 'persist', 'status')
if state[1] ~= 'pending' or state[2] == 'queued' or state[2] == 'running' or state[2] == 'suspended' then
    return -1  -- one that was asked again since has its own end before it
end
local tries = redis.call('HINCRBY', turn, 'persist_tries', 1)
if done == '1' then
    redis.call('HSET', turn, 'persist', 'done', 'final_text', final_text)
end
local first = redis.call('EXISTS', open) == 1 and 4 or 1  -- a session with an open turn has no end, else it stays as long
for i = first, #KEYS do
    redis.call('PEXPIRE', KEYS[i], retention_ms)
end
return tries
