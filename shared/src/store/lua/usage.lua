-- Tells what windows have used and hold, after the holds are ended whose lease is over.
--
-- KEYS  1 tenant
-- ARGV  1 now_ms   2 … windows
-- Answers each window as it is packed, empty if it is not known; then "\nrequest r t c windows" of each lost hold.

local now, lost, told = tonumber(ARGV[1]), '', {}
local state = redis.call('HGET', KEYS[1], 's')
if state and struct.unpack('<d', state, DUE_AT) <= now then lost = sweep(now) end
local kept = redis.call('HMGET', KEYS[1], unpack(ARGV, 2))
for i = 1, #ARGV - 1 do told[i] = kept[i] or '' end
told[#ARGV] = lost
return told
