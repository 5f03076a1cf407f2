-- Those who follow a session.

-- tell_followers(session, followers, index, now)
-- Publishes the index of a turn on the channel `followers`, if somebody follows the session: the turn's status has
-- changed, and no event in its log says so.
local function tell_followers(session, followers, index, now)
    if tonumber(redis.call('HGET', session, 'followed') or '0') > now then
        redis.call('PUBLISH', followers, index)
    end
end
