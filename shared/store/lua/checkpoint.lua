-- Stores the record of a step and the progress of the attempt, and extends the lease.
-- Safe to repeat: it writes the same record again.
-- KEYS
--   turn        hash of the turn
--   lease       string: the lease of the running attempt
--   steps       hash: position -> step record; `history` -> a record of the messages that the producer sees
--   events      stream: the turn's log
-- ARGV
--   attempt
--   token       the value of this attempt's lease
--   lease_ms
--   position    of the step
--   record      JSON, see StepRecord in shared/model.py
--   covers      cursor of the last event that a completed step covers; '' for a failed one
--   used        what the attempt has used so far: a JSON object of strings, with the attempt's number; '' if nothing
--   history     JSON of the messages that the producer sees, for later attempts; '' if they are stored already
--   answer      1: the step is the whole producer, so from now on neither a cancel nor a crash ends the turn
--   next_seq    seq of the attempt's next event; 0 if the step covers no events
--   number      of the checkpoint in its turn, from 1; 0: it is not counted
--   known       number of the last checkpoint that the server had acknowledged; 0 checks nothing
-- RETURNS
--   1
-- REFUSES
--   FENCED         the lease of this attempt was lost
--   LOG_BEHIND     as for `append`
--   STEPS_BEHIND   the server has lost acknowledged checkpoints; the text is the number of the last one that it has
-- include: time fence progress behind

local turn, lease, steps, events = unpack(KEYS)
local attempt, token, lease_ms, position, record, covers, used, history, answer, next_seq, number, known = unpack(ARGV)
local refused, stands, used_before, checkpoints = fence(turn, lease, attempt, token, lease_ms)
if refused then
    return refused
end
refused = behind(events, next_seq) or steps_behind(checkpoints, known)
if refused then
    return refused
end
redis.call('HSET', steps, position, record)
local marks = {'lease_end', now_ms() + lease_ms}  -- until then the attempt counts as running
if history ~= '' then
    redis.call('HSETNX', steps, 'history', history)
end
if tonumber(number) > tonumber(checkpoints or 0) then
    marks[3], marks[4] = 'checkpoints', number
end
if answer == '1' then
    marks[#marks + 1], marks[#marks + 2] = 'answered', '1'
end
add_progress(marks, stands or '', used_before or '', covers, used)
redis.call('HSET', turn, unpack(marks))
return 1
