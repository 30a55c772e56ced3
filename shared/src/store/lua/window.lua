-- A tenant's window, one hash; part of the scripts that count in it. Its fields:
--   ur ut uc      used: requests, tokens, nano-US-dollar. A window is known if `ur` is there.
--   hr ht hc      held, in the same units
--   or ot oc      the part of what is used that was admitted without the store
--   n             open holds
--   e             no lease ends, and nothing is to be told, before this (Unix ms); absent if there is nothing
--   k             closed until (Unix ms), of a window that is not known
--   h:<request>   an open hold: "lease_ends_ms r t c windows request_remaining request_reset token_remaining token_reset"
--   x:<request>   a hold whose lease ended, of which the ledger has yet to hear: "told_at_ms r t c windows"
-- Sums saturate at 2^53, beyond which a Lua number has gaps.

local MOST = 9007199254740992

local function plus(a, b) return math.min(a + b, MOST) end

-- {ur, ut, uc, hr, ht, hc, n, e; hold = …, ended = …} of KEYS[place], or nil if it is not known.
local function read_window(place, id)
  local kept = redis.call('HMGET', KEYS[place], 'ur', 'ut', 'uc', 'hr', 'ht', 'hc', 'n', 'e', 'h:' .. id, 'x:' .. id)
  if not kept[1] then return nil end
  local window = {hold = kept[9], ended = kept[10]}
  for field = 1, 7 do window[field] = tonumber(kept[field]) or 0 end
  window[8] = tonumber(kept[8]) or math.huge
  return window
end

-- With further fields, if there are any: name, value …
local function write_window(place, window, ...)
  redis.call('HSET', KEYS[place], 'ur', window[1], 'ut', window[2], 'uc', window[3],
    'hr', window[4], 'ht', window[5], 'hc', window[6], 'n', window[7], ...)
end

-- A hold's lease end, {r, t, c}, windows, and the rest of its text.
local function parse_hold(text)
  local lease, r, t, c, windows, standing = string.match(text, '^(%d+) (%d+) (%d+) (%d+) (%S+) (.*)$')
  return tonumber(lease), {tonumber(r), tonumber(t), tonumber(c)}, windows, standing
end

-- Replaces what is held by what is used, and counts one open hold less.
local function replace(window, held, used)
  for unit = 1, 3 do
    window[unit] = plus(window[unit], used[unit])
    window[3 + unit] = math.max(0, window[3 + unit] - held[unit])
  end
  window[7] = math.max(0, window[7] - 1)
end

-- The first of ARGV's limits that `more` exceeds: the number of the window and of the unit; or nil. The limits of
-- windows[i] are the three at ARGV[place + 3 * (i - 1)], '' where there is none.
local function exhausted(windows, count, place, more)
  for i = 1, count do
    local window = windows[i] or {0, 0, 0, 0, 0, 0}
    for unit = 1, 3 do
      local limit = tonumber(ARGV[place + 3 * (i - 1) + unit - 1])
      if limit and more[unit] > 0 and window[unit] + window[3 + unit] + more[unit] > limit then return i, unit end
    end
  end
end
