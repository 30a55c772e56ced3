-- Reads what windows have used and hold, after the holds are ended whose lease has expired. See ADR 9.
--
-- KEYS  1 tenant
-- ARGV  1 now_ms   2 … the windows' fields
-- Returns a WINDOW for each, empty if it is not known; then "\nrequest requests tokens nusd windows" of each hold that expired.

local now, expired, answer = tonumber(ARGV[1]), '', {}
if read_state(redis.call('HGET', KEYS[1], 'state'))[SWEEP_AT_MS] <= now then expired = sweep(now) end
local kept = redis.call('HMGET', KEYS[1], unpack(ARGV, 2))
for i = 1, #ARGV - 1 do answer[i] = kept[i] or '' end
answer[#ARGV] = expired
return answer
