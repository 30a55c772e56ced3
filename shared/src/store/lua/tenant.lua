-- A tenant, one hash, KEYS[1]: lost whole or not at all. Its fields:
--   v                settings version
--   g                generation of the cache
--   s                packed: {ms, ticks} of the rate of requests, {ms, ticks} of that of tokens, open holds, and when the
--                    next sweep is due (Unix ms)
--   d<ms> m<ms>      a window that is known, by when it starts; packed: used requests, tokens, nano-US-dollar, and held
--   o:<window>       packed: the part of what is used that was admitted without the store, in the same units
--   k:<window>       a window that is not known is closed until (Unix ms)
--   h:<request>      an open hold; packed: lease_ends_ms, requests, tokens, nano-US-dollar, and what else admit.lua answered;
--                    then its windows as text "d<ms>-<resets_ms>,m<ms>-<resets_ms>"
--   x:<request>      a hold whose lease ended, of which the ledger has yet to hear: "told_at_ms r t c windows"
-- What is packed, here and in ARGV, are doubles of eight bytes, the least significant first: text would have to be made of
-- each number and read again. Sums saturate at 2^53, beyond which doubles have gaps.

local MOST = 9007199254740992
local STATE, WINDOW, HOLD, ADMITTED, OUTAGE = '<dddddd', '<dddddd', '<dddd', '<dddddddd', '<ddd'
local LEASE_BYTES, ADMITTED_BYTES = 8, 64

local function plus(a, b) return math.min(a + b, MOST) end

-- {request_ms, request_ticks, token_ms, token_ticks, holds, due_ms}
local function state_of(packed)
  if not packed then return {0, 0, 0, 0, 0, math.huge} end
  return {struct.unpack(STATE, packed)}
end

local function packed_state(state) return struct.pack(STATE, unpack(state, 1, 6)) end

-- {ur, ut, uc, hr, ht, hc}, or nil if it is not known
local function window_of(packed) return packed and {struct.unpack(WINDOW, packed)} end

local function packed_window(window) return struct.pack(WINDOW, unpack(window, 1, 6)) end

-- {lease, r, t, c}
local function hold_of(packed) return {struct.unpack(HOLD, packed)} end

local function admitted_of(packed) return string.sub(packed, LEASE_BYTES + 1, LEASE_BYTES + ADMITTED_BYTES) end

local function windows_of(packed) return string.sub(packed, LEASE_BYTES + ADMITTED_BYTES + 1) end

local function packed_hold(lease, admitted, windows) return struct.pack('<d', lease) .. admitted .. windows end

-- Replaces what is held of a window by what is used.
local function replace(window, hold, used)
  for unit = 1, 3 do
    window[unit] = plus(window[unit], used[unit])
    window[3 + unit] = math.max(0, window[3 + unit] - hold[1 + unit])
  end
end

-- What HSET takes to write the windows whose fields are ARGV[4] and following, and whose values kept[4] and following, those
-- that are known, with what `hold` held of them replaced by what was used.
local function charged(kept, hold, used)
  local write = {}
  for i = 4, #ARGV do
    local window = window_of(kept[i])
    if window then
      replace(window, hold, used)
      write[#write + 1] = ARGV[i]
      write[#write + 1] = packed_window(window)
    end
  end
  return write
end

-- The first of the limits that `more` exceeds: the number of the window and of the unit; or nil. The limits of windows[i]
-- are limits[i], infinite where there are none.
local function exhausted(windows, limits, more)
  for i = 1, #windows do
    local window, limit = windows[i], limits[i]
    for unit = 1, 3 do
      if more[unit] > 0 and window[unit] + window[3 + unit] + more[unit] > limit[unit] then return i, unit end
    end
  end
end
