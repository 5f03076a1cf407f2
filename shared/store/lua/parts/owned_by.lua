-- Keeps the users of one tenant apart.

-- is_foreign(session, user)
-- Returns whether the session is not this user's. The user '' is nobody's, and finds no session foreign.
local function is_foreign(session, user)
    return user ~= '' and redis.call('HGET', session, 'user') ~= user
end
