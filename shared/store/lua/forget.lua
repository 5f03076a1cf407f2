-- Takes a turn off the sweep's list, unless it was marked anew meanwhile.
-- Safe to repeat: an entry that is gone stays gone.
-- KEYS
--   open_turns      zset: job id -> when the sweep should look at it
--   pending         zset: job id of an answer to persist -> since when, in µs
--   billed          string: up to which row the turn's ledger rows are published
--   own_open        set: the tenant's open turns, as far as they are counted
-- ARGV
--   job_id
--   other_id        the turn's other job: the one that persists its answer, or the one that runs it
--   mark            the mark that `announce` or `due` returned
--   retention_ms    how long `billed` is kept, because no job of this turn will end any more and set this itself
-- RETURNS
--   1               the entry is gone
--   0               the entry was marked anew, or was gone already

local open_turns, pending, billed, own_open = unpack(KEYS)
local job_id, other_id, mark, retention_ms = unpack(ARGV)
if tonumber(redis.call('ZSCORE', open_turns, job_id) or '0') ~= tonumber(mark) then
    return 0
end
redis.call('ZREM', pending, job_id)
redis.call('SREM', own_open, job_id)
if not redis.call('ZSCORE', open_turns, other_id) then
    redis.call('PEXPIRE', billed, retention_ms)
end
return redis.call('ZREM', open_turns, job_id)
