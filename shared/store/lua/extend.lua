-- The heartbeat: registers the worker and extends its claims. A claim that lapsed comes back if nobody took the job.
-- Safe to repeat: it writes the same again.
-- It works on a server whose memory is full, too; otherwise every running job would lose its claim there.
-- KEYS
--   queue                 zset: job id -> when it may start
--   open_turns            zset: job id -> when the sweep should look at it
--   workers               hash: worker -> entry of its last heartbeat
--   ring                  zset: the ids of the workers, in order
--   claims                set: the jobs that this worker has claimed; it outlives them by one lease
--   beat                  string: when the last heartbeat of any worker came
--   grace                 string: is there while lapsed claims are left alone
--   drain                 string: is there while an operator wants this worker to drain
-- ARGV
--   worker
--   entry                 JSON: what the worker says about itself
--   lease_ms
--   sweep_ms              when the sweep should look at the turns
--   in_progress_prefix    of the keys that hold the worker of each claimed job
--   job_id …              the jobs that this worker has claimed
-- RETURNS
--   1                     the worker should drain
--   0                     it should not
-- include: time lanes grace

local queue, open_turns, workers, ring, claims, beat, grace, drain = unpack(KEYS)
local worker, entry, lease_ms, sweep_ms, in_progress_prefix = unpack(ARGV, 1, 5)
-- A full server refuses a script's first write if it needs memory, and takes all writes after it. PEXPIRE needs none.
redis.call('PEXPIRE', claims, 2 * lease_ms)
redis.call('HSET', workers, worker, entry)
redis.call('ZADD', ring, 0, worker)
local now = now_ms()
keep_beat({queue = queue, open_turns = open_turns, beat = beat, grace = grace}, tonumber(lease_ms), now)
local is_asked = redis.call('EXISTS', drain)
if #ARGV == 5 then
    return is_asked
end
for i = 6, #ARGV do
    local job_id = ARGV[i]
    local key = in_progress_prefix .. job_id
    local holder = redis.call('GET', key)
    local is_ours = not holder or holder == worker
    if is_ours and redis.call('ZSCORE', queue, job_id) then  -- a job that is not in the queue has ended meanwhile
        redis.call('SET', key, worker, 'PX', lease_ms)
        redis.call('ZADD', queue, string.format('%d.5', now + lease_ms), job_id)
        redis.call('SADD', claims, job_id)
        redis.call('ZADD', open_turns, 'XX', now + sweep_ms, job_id)
    end
end
redis.call('PEXPIRE', claims, 2 * lease_ms)
return is_asked
