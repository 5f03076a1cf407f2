-- Gives a turn back without spending an attempt, because its worker stops or the store has lost too much of it.
-- Safe to repeat: the row of a handover that was done before is returned again.
-- KEYS
--   session    hash of the session
--   turn       hash of the turn
--   lease      string: the lease of the running attempt
--   ledger     hash: attempt -> ledger row
-- ARGV
--   attempt
--   token      the value of this attempt's lease
--   used       what the attempt used: JSON of texts, '' if nobody knows
--   reason     why the next attempt runs: handover or store_lost
--   index      of the turn
--   followers  pub/sub channel of those who follow the session; nothing is published while nobody does
-- RETURNS
--   the attempt's ledger row; '' if this attempt had lost the turn
-- include: time sums ledger followers

local session, turn, lease, ledger = unpack(KEYS)
local attempt, token, used, reason, index, followers = unpack(ARGV)
local state = redis.call('HMGET', turn, 'status', 'attempt', 'worker')
local holder = redis.call('GET', lease)
local mine = state[2] == attempt and state[3] .. '#' .. attempt == token and not (holder and holder ~= token)
if not mine or state[1] ~= 'running' then
    local row = redis.call('HGET', ledger, attempt)
    -- It was done before if the row says so, and the reply was lost.
    return row and cjson.decode(row).outcome == 'handover' and row or ''
end
local now = now_ms()
local row = add_row({session = session, turn = turn, ledger = ledger}, attempt, 'handover', '', told_use(used), now)
redis.call('HSET', turn, 'status', 'queued', 'resume_reason', reason, 'updated_at', now)
redis.call('DEL', lease)
tell_followers(session, followers, index, now)
return row
