-- Reopening a turn that failed because its signal did not come in time.

-- forget_timeout(steps, signals)
-- Removes the step whose signal did not come, and the timeout that is stored in place of the signal, so that the next
-- attempt waits for the signal anew. It is the last such step: the producer went on after the earlier ones.
local function forget_timeout(steps, signals)
    local records, last, key = redis.call('HGETALL', steps), -1, nil
    for i = 1, #records, 2 do
        local position = tonumber(records[i]) or -1
        if position > last and string.find(records[i + 1], '"kind":"signal"', 1, true) then
            local readable, step = pcall(cjson.decode, records[i + 1])
            if readable and step.kind == 'signal' and type(step.result) == 'table' and step.result.timed_out then
                last, key = position, string.match(step.intent, '^signal:(.*)$')
            end
        end
    end
    if key then
        redis.call('HDEL', steps, last)
        redis.call('HDEL', signals, key)
    end
end
