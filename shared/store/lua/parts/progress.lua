-- How far an attempt came, in case its worker dies. It is kept in two fields of the turn hash:
-- `stands`    cursor of the last event that a completed step or a suspension covers: the log stays up to there
-- `used`      JSON of what the attempt had used by its last checkpoint, with its number, as texts

-- keep_progress(turn, stands, known, covers, used)
-- `stands` and `known` are what the turn says so far, `covers` and `used` what a checkpoint says; each may be empty.
-- Both fields only ever grow, although checkpoints of steps that run side by side may arrive in another order.
local function keep_progress(turn, stands, known, covers, used)
    local goes_on = covers ~= '' and covers ~= stands and (stands == '' or is_later(covers, stands))
    local more = used ~= '' and used ~= known
    if more and known ~= '' then
        local new, old = cjson.decode(used), cjson.decode(known)
        more = new.attempt ~= old.attempt or tonumber(new.model_calls) > tonumber(old.model_calls)
    end
    if goes_on or more then
        redis.call('HSET', turn, 'stands', goes_on and covers or stands, 'used', more and used or known)
    end
end
