-- announce    KEYS: open_turns    ARGV: run_id look_ms    -> the mark to take it back with | '' it was there already
-- Before a turn is written: if we die before its job is, the sweep looks at it after look_ms.
-- include: time
local mark = now_ms() + ARGV[2]
if redis.call('ZADD', KEYS[1], 'NX', mark, ARGV[1]) == 1 then
    return string.format('%d', mark)
end
return ''
