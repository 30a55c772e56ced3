-- Admits a request: checks every limit and takes from all of them, or from none (M1).
--
-- KEYS  1        settings: v version, g generation of the cache, rm rt tm tt states of the rates
--       2        what became of the request: h a hit that is counted, s settled, r released
--       3 …      W windows asked, then P windows before them, then the remembered answer if `mode` is "look"
-- ARGV  1 now_ms   2 request   3 settings version   4 mode   5 lease_ends_ms   6 most requests in flight, or ''
--       7 … 9    rate of requests: limit, period_ms, capacity; or '' thrice
--       10 … 12  rate of tokens       13 tokens to take from it
--       14 … 16  hold: requests, tokens, nano-US-dollar       17 … 19 the strict hold
--       20 windows as text   21 W   22 P
--       23 …     for each window the most requests, tokens, nano-US-dollar, or ''
-- mode  "look"   a hit if the remembered answer is there: 15 digits of Unix ms when it expires, 16 characters of
--                generation, the answer
--       "hit" "miss"   it is one, or not
--       "gone"   a miss; if the request was counted as a hit already, that is undone
--
-- Answers {what, a, b, c, request_remaining, request_reset_ms, token_remaining, token_reset_ms, hit, generation, lost}:
--       held         a requests, b tokens, c nano-US-dollar are held; nothing of a hit
--       rate         a 1 requests or 2 tokens, b retry_after_ms
--       concurrency
--       closed       a retry_after_ms
--       quota        a number of the window, b 1 requests, 2 tokens, 3 cost
--       stale        a 1 if the settings are, b numbers of the missing windows as text
-- Rates that are not asked are -1. `hit` is 1 if the request is a hit. `lost` lists "request r t c windows".

local now, id, mode = tonumber(ARGV[1]), ARGV[2], ARGV[4]
local count, before = tonumber(ARGV[21]), tonumber(ARGV[22])
local request_rate, token_rate = rate_at(7), rate_at(10)
local request_tat, token_tat, version, generation = read_settings()
local windows, lost = {}, {}
for i = 1, count + before do windows[i] = read_swept(2 + i, id, now, lost) end

local hit = mode == 'hit'
if mode == 'look' then
  local head = redis.call('GETRANGE', KEYS[3 + count + before], 0, 30)
  hit = #head == 31 and generation ~= '' and string.sub(head, 16) == generation
    and tonumber(string.sub(head, 1, 15)) > now
end

local function answer(what, a, b, c, standing)
  if not standing then
    local requests, requests_reset = standing_of(request_rate, request_tat, now)
    local tokens, tokens_reset = standing_of(token_rate, token_tat, now)
    standing = {requests, requests_reset, tokens, tokens_reset}
  end
  return {what, a or 0, b or 0, c or 0, standing[1], standing[2], standing[3], standing[4], hit and 1 or 0, generation,
    told_of(lost)}
end

local done = redis.call('GET', KEYS[2])
for i = 1, count do
  if windows[i] and windows[i].hold then
    hit = false
    local _, held, _, text = parse_hold(windows[i].hold)
    local standing = {}
    for number in string.gmatch(text, '%S+') do standing[#standing + 1] = tonumber(number) end
    return answer('held', held[1], held[2], held[3], standing)
  end
  if windows[i] and windows[i].ended then done = done or 's' end
end
if done == 'h' and mode == 'gone' then
  redis.call('DEL', KEYS[2])
  if request_rate then
    request_tat = correct(request_rate, request_tat, now, -1)
    write_tats(request_tat, token_tat)
  end
  for i = 1, count do
    if windows[i] then
      windows[i][1] = math.max(0, windows[i][1] - 1)
      write_window(2 + i, windows[i])
    end
  end
elseif done then
  hit = done == 'h'
  return answer('held')
end

local missing, closed = {}, 0
for i = 1, count do
  if not windows[i] then
    missing[#missing + 1] = i
    closed = math.max(closed, tonumber(redis.call('HGET', KEYS[2 + i], 'k') or 0))
  end
end
if closed > now then return answer('closed', closed - now) end
local stale = version ~= ARGV[3]
if stale or #missing > 0 then return answer('stale', stale and 1 or 0, table.concat(missing, ' ')) end

local function amounts_at(place) return {tonumber(ARGV[place]), tonumber(ARGV[place + 1]), tonumber(ARGV[place + 2])} end

-- The calibrated hold, or the one that cannot be exceeded where less than ten times as much is left (M3).
local held = hit and {1, 0, 0} or amounts_at(14)
if not hit then
  local ample = true
  for i = 1, count do
    for unit = 2, 3 do
      local limit = tonumber(ARGV[23 + 3 * (i - 1) + unit - 1])
      local left = limit and math.max(0, limit - windows[i][unit] - windows[i][3 + unit])
      ample = ample and (not limit or left >= held[unit] * 10)
    end
  end
  if not ample then held = amounts_at(17) end
end

-- A request admitted before the first window began is in flight in the one before it.
if not hit and ARGV[6] ~= '' and count > 0 then
  local in_flight = windows[1][7]
  for i = 1, before do in_flight = in_flight + (windows[count + i] and windows[count + i][7] or 0) end
  if in_flight >= tonumber(ARGV[6]) then return answer('concurrency') end
end
local new_request_tat, new_token_tat, wait = request_tat, token_tat, nil
if request_rate then
  new_request_tat, wait = take(request_rate, request_tat, now, 1)
  if not new_request_tat then return answer('rate', 1, wait) end
end
if token_rate and not hit then
  new_token_tat, wait = take(token_rate, token_tat, now, tonumber(ARGV[13]))
  if not new_token_tat then return answer('rate', 2, wait) end
end
local over, unit = exhausted(windows, count, 23, held)
if over then return answer('quota', over, unit) end

request_tat, token_tat = new_request_tat, new_token_tat
if request_rate or token_rate then write_tats(request_tat, token_tat) end
redis.call('PEXPIRE', KEYS[1], 86400000)
local lease = tonumber(ARGV[5])
local admitted = answer('held', held[1], held[2], held[3])
for i = 1, count do
  local window = windows[i]
  if hit then
    window[1] = plus(window[1], 1)
    write_window(2 + i, window)
  else
    for part = 1, 3 do window[3 + part] = plus(window[3 + part], held[part]) end
    window[7] = window[7] + 1
    write_window(2 + i, window, 'e', math.min(window[8], lease), 'h:' .. id, string.format(
      '%d %d %d %d %s %d %d %d %d', lease, held[1], held[2], held[3], ARGV[20],
      admitted[5], admitted[6], admitted[7], admitted[8]))
  end
end
if hit then
  redis.call('SET', KEYS[2], 'h', 'PX', 60000)
  admitted[2] = 0
end
return admitted
