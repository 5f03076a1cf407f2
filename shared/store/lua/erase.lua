-- erase    KEYS: session turns open turn lease steps events signals ledger …    ARGV: channel count index … run_id …    -> how many turns are left
-- Six keys for each index. The worker of each turn is told to stop, and the turn's readers are told that it is
-- gone. Whatever the worker still writes is refused, because there is nothing left to write to.
local session, turns, open = KEYS[1], KEYS[2], KEYS[3]
local channel, count = ARGV[1], tonumber(ARGV[2])
for i = 1, count do
    redis.call('UNLINK', unpack(KEYS, 6 * i - 2, 6 * i + 3))
    redis.call('ZREM', turns, ARGV[2 + i])
    redis.call('ZREM', open, ARGV[2 + i])
    redis.call('PUBLISH', channel, ARGV[2 + count + i])
    redis.call('PUBLISH', KEYS[6 * i + 1], 'erased')
end
local left = redis.call('ZCARD', turns)
if left == 0 then
    redis.call('UNLINK', session, turns, open)
end
return left
