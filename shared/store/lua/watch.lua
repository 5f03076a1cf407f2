-- Lists those of a worker's neighbours whose processes hold no connection any more. The neighbours are the workers that
-- follow it in the ring of all workers, which are in the order of their ids. The process of each worker subscribes to a
-- channel of its own, and the server knows at once when that connection is gone.
-- Safe to repeat: it only removes members of the ring that are off the list of workers.
-- KEYS
--   workers           hash: worker -> entry of its last heartbeat
--   ring              zset: the ids of the workers, in order
--   queue             zset: job id -> when it may start
--   sweeper           string: the worker that sweeps
-- ARGV
--   worker            who asks
--   count             how many neighbours to look at; -1: all other workers
--   alive_prefix      of the channels to which the workers subscribe
-- RETURNS {queued, sweeps, looked_at, server, worker, entry, worker, entry, …}
--   queued            how many jobs there are, waiting or running
--   sweeps            1: the caller sweeps; 0: another worker does
--   looked_at         how many workers were looked at
--   server            the run id of this server process; '' if nobody is missing
--   entry             what the missing worker said of itself in its last heartbeat

local workers, ring, queue, sweeper = unpack(KEYS)
local worker, count, alive_prefix = unpack(ARGV)
count = tonumber(count)
local found = redis.call('ZRANGEBYLEX', ring, '(' .. worker, '+', 'LIMIT', 0, count)
if count < 0 or #found < count then  -- the ring is closed: the first worker follows the last
    local left = count < 0 and -1 or count - #found
    local first = redis.call('ZRANGEBYLEX', ring, '-', '(' .. worker, 'LIMIT', 0, left)
    for _, neighbour in ipairs(first) do
        found[#found + 1] = neighbour
    end
end
local sweeps = redis.call('GET', sweeper) == worker and 1 or 0
local reply = {redis.call('ZCARD', queue), sweeps, #found, ''}
for begin = 1, #found, 500 do  -- Lua limits how many arguments one call may have
    local channels = {}
    for i = begin, math.min(begin + 499, #found) do
        channels[#channels + 1] = alive_prefix .. found[i]
    end
    local subscribers = redis.call('PUBSUB', 'NUMSUB', unpack(channels))
    for i = 1, #channels do
        local neighbour = found[begin + i - 1]
        local entry = subscribers[2 * i] == 0 and redis.call('HGET', workers, neighbour)
        if entry then
            reply[#reply + 1] = neighbour
            reply[#reply + 1] = entry
        elseif subscribers[2 * i] == 0 then  -- a worker of the previous version has buried it
            redis.call('ZREM', ring, neighbour)
        end
    end
end
if #reply > 4 then
    reply[4] = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
end
return reply
