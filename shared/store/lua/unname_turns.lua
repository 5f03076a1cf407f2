-- Notes of turns that they are about to be erased: rows of theirs that are published from now on name no user.
-- Safe to repeat: it writes the same mark again.
-- KEYS
--   billed …        of each turn: up to which row its ledger rows are published
-- ARGV
--   retention_ms    how long a mark is kept that was not there before
--   created_at …    when each turn was created, in the same order
-- RETURNS
--   1

local retention_ms = unpack(ARGV, 1, 1)
for i = 2, #ARGV do
    local billed = KEYS[i - 1]
    local known = redis.call('GET', billed)
    local mark = string.match(known or '0 0', '%d+ %d+') .. ' erased:' .. ARGV[i]
    if known then
        redis.call('SET', billed, mark, 'KEEPTTL')
    else
        redis.call('SET', billed, mark, 'PX', retention_ms)
    end
end
return 1
