-- Admits a request: checks every limit and takes from all of them, or from none (M1).
--
-- KEYS  1 tenant   2 what became of the request: h a hit that is counted, s settled, r released
--       3 the remembered answer, if `mode` is "look"
-- ARGV  1 packed: now_ms, lease_ends_ms, the most requests in flight, tokens to take from the rate of tokens;
--         the rate of requests and that of tokens: limit, period_ms, capacity;
--         the hold and the strict hold: requests, tokens, nano-US-dollar;
--         then the same of each window: the most. What is not limited has an infinite limit, a rate that is not asked 0
--       2 request   3 settings version   4 mode   5 windows as text, as a hold keeps them   6 … their fields
-- mode  "look"   a hit if the remembered answer is there: 15 digits of Unix ms when it expires, 16 characters of
--                generation, the answer
--       "hit" "miss"   it is one, or not
--       "gone"   a miss; if the request was counted as a hit already, that is undone
--
-- Answers {what, packed: a, b, c, request_remaining, request_reset_ms, token_remaining, token_reset_ms, hit; generation,
--          lost}:
--       held         a requests, b tokens, c nano-US-dollar are held; nothing of a hit
--       rate         a 1 requests or 2 tokens, b retry_after_ms
--       concurrency
--       closed       a retry_after_ms
--       quota        a number of the window, b 1 requests, 2 tokens, 3 cost
--       stale        a 1 if the settings are, b the sum of 2^(number - 1) of the missing windows
-- Rates that are not asked are -1. `hit` is 1 if the request is a hit. `lost` lists "request r t c windows".

local numbers, id, mode, count = ARGV[1], ARGV[2], ARGV[4], #ARGV - 5
local now, lease, concurrency, rate_tokens = struct.unpack('<dddd', numbers)
local function three_at(place) return {struct.unpack('<ddd', numbers, place)} end
local request_rate, token_rate = three_at(33), three_at(57)

local function read()
  return redis.call('HMGET', KEYS[1], 's', 'v', 'g', 'h:' .. id, 'x:' .. id, unpack(ARGV, 6))
end
local kept, lost = read(), {}
local state = state_of(kept[1])
if state[6] <= now then
  lost = sweep(state, now)
  kept = read()
end
local version, generation, hold, ended = kept[2], kept[3] or '', kept[4], kept[5]

local hit = mode == 'hit'
if mode == 'look' then
  local head = redis.call('GETRANGE', KEYS[3], 0, 30)
  hit = #head == 31 and generation ~= '' and string.sub(head, 16) == generation
    and tonumber(string.sub(head, 1, 15)) > now
end

local function numbers_of(a, b, c)
  local requests, requests_reset = standing_of(request_rate, state, 1, now)
  local tokens, tokens_reset = standing_of(token_rate, state, 3, now)
  return struct.pack(ADMITTED, a, b, c, requests, requests_reset, tokens, tokens_reset, hit and 1 or 0)
end

local function answer(what, a, b) return {what, numbers_of(a or 0, b or 0, 0), generation, lost} end

if hold then return {'held', admitted_of(hold), generation, lost} end
local windows, missing = {}, {}
for i = 1, count do
  windows[i] = window_of(kept[5 + i])
  if not windows[i] then missing[#missing + 1] = i end
end

local function write(...)
  local fields = {...}
  for i = 1, count do
    if windows[i] then
      fields[#fields + 1] = ARGV[5 + i]
      fields[#fields + 1] = packed_window(windows[i])
    end
  end
  redis.call('HSET', KEYS[1], 's', packed_state(state), unpack(fields))
end

local done = redis.call('GET', KEYS[2]) or (ended and 's')
if done == 'h' and mode == 'gone' then
  redis.call('DEL', KEYS[2])
  if request_rate[1] > 0 then correct(request_rate, state, 1, now, -1) end
  for i = 1, count do
    if windows[i] then windows[i][1] = math.max(0, windows[i][1] - 1) end
  end
  if kept[1] then write() end
elseif done then
  hit = done == 'h'
  return answer('held')
end

local closed, those = 0, 0
for i = 1, #missing do
  closed = math.max(closed, tonumber(redis.call('HGET', KEYS[1], 'k:' .. ARGV[5 + missing[i]]) or 0))
  those = those + 2 ^ (missing[i] - 1)
end
if closed > now then return answer('closed', closed - now) end
local stale = version ~= ARGV[3]
if stale or those > 0 then return answer('stale', stale and 1 or 0, those) end

-- The calibrated hold, or the one that cannot be exceeded where less than ten times as much is left (M3).
local held, limits = hit and {1, 0, 0} or three_at(81), {}
for i = 1, count do
  limits[i] = three_at(129 + 24 * (i - 1))
  for unit = 2, 3 do
    local left = math.max(0, limits[i][unit] - windows[i][unit] - windows[i][3 + unit])
    if left < held[unit] * 10 then held = three_at(105) end
  end
end

if not hit and state[5] >= concurrency then return answer('concurrency') end
local before = {state[1], state[2], state[3], state[4]}
local function refused(...)
  state[1], state[2], state[3], state[4] = unpack(before)
  return answer(...)
end
local wait = request_rate[1] > 0 and wait_or_take(request_rate, state, 1, now, 1)
if wait then return answer('rate', 1, wait) end
wait = token_rate[1] > 0 and not hit and wait_or_take(token_rate, state, 3, now, rate_tokens)
if wait then return refused('rate', 2, wait) end
local over, unit = exhausted(windows, limits, held)
if over then return refused('quota', over, unit) end

local part = hit and 0 or 3
for i = 1, count do
  for unit = 1, 3 do windows[i][part + unit] = plus(windows[i][part + unit], held[unit]) end
end
if hit then
  write()
  redis.call('SET', KEYS[2], 'h', 'PX', 60000)
  return answer('held')
end
state[5], state[6] = state[5] + 1, math.min(state[6], lease)
local admitted = numbers_of(held[1], held[2], held[3])
write('h:' .. id, packed_hold(lease, admitted, ARGV[5]))
return {'held', admitted, generation, lost}
