-- The only clock.

-- now_ms()
-- RETURNS Redis time in ms
local function now_ms()
    local t = redis.call('TIME')
    return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- now_us()
-- RETURNS Redis time in µs
local function now_us()
    local t = redis.call('TIME')
    return t[1] * 1000000 + t[2]
end
