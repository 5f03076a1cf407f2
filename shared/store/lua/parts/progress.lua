-- The progress of an attempt, which the next attempt needs if the worker dies. Two fields of the turn hash keep it:
-- `stands`    cursor of the last event that a completed step or a suspension covers; the log is kept up to there
-- `used`      what the attempt had used by its last checkpoint: a JSON object of strings, with the attempt's number

-- add_progress(fields, stands, known, covers, used)
-- `stands` and `known` are the turn's two fields as they are; `covers` and `used` are the values of a checkpoint. Each
-- may be empty. Checkpoints of steps that run side by side may arrive in any order, so a field is replaced only by a
-- later value.
local function add_progress(fields, stands, known, covers, used)
    local goes_on = covers ~= '' and covers ~= stands
    if goes_on and stands ~= '' then
        -- include: cut
        goes_on = is_later(covers, stands)
    end
    local more = used ~= '' and used ~= known
    if more and known ~= '' then
        local new, old = cjson.decode(used), cjson.decode(known)
        more = new.attempt ~= old.attempt or tonumber(new.model_calls) > tonumber(old.model_calls)
    end
    if goes_on then
        fields[#fields + 1], fields[#fields + 2] = 'stands', covers
    end
    if more then
        fields[#fields + 1], fields[#fields + 2] = 'used', used
    end
end
