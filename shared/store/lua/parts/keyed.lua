-- The Idempotency-Keys of a session, in its hash: `key:<key>` is the index of a turn, `key_of:<index>` its key.

-- forget_key(session, index)
-- Removes the Idempotency-Key of a turn that is not there any more, if it had one.
local function forget_key(session, index)
    local key = redis.call('HGET', session, 'key_of:' .. index)
    if key then
        redis.call('HDEL', session, 'key:' .. key, 'key_of:' .. index)
    end
end
