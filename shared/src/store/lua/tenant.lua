-- A tenant, one hash, KEYS[1]: lost whole or not at all (M5; see ADR 9). Prelude of every script that looks into one. Its fields:
--   state                a STATE
--   cache_version        the version of its remembered answers
--   tombstones_until     until when there may be tombstones of its requests (Unix ms; see ADR 10)
--   d<ms> m<ms>          a WINDOW that is known, a day or a month, by when it starts; of keys' own, d<ms>@<lineage>
--   outage:<window>      AMOUNTS: the part of what is used that was admitted without the store
--   closed:<window>      a window that is not known is closed until (Unix ms)
--   key:<lineage>        a PACE: the rates and places in flight of keys that have limits of their own
--   hold:<request>       a HOLD; then its windows as text: "d<ms>-<resets_ms>,m<ms>-<resets_ms>", and "/<lineage>" where it is
--                        among the requests in flight of keys' own. One whose lease has ended is charged already and stays
--                        until the ledger has recorded it: in place of the lease stands when it was told, below
--                        0 (-Unix ms). Half a millisecond on a lease says that its place in flight is free
-- The incarnation is a random number, another one each time the tenant is begun anew, by the first admission after it was
-- lost (see ADR 10 and ADR 16).
--
-- What is packed, here and in the arguments, are doubles of eight bytes, the least significant first. redis/layout.rs has the
-- same layouts by the same names; a test holds each field of one to that of the other.

local MOST = 9007199254740992 -- 2^53, beyond which doubles have gaps: sums saturate there.
local STATE, WINDOW, HOLD, AMOUNTS, PACE = '<dddddddd', '<dddddd', '<dddd', '<ddd', '<ddddd'

-- Places in an unpacked STATE. The rates' states are an instant in ms and ticks (gcra.lua).
local REQUEST_MS, REQUEST_TICKS, TOKEN_MS, TOKEN_TICKS, INCARNATION, OPEN_HOLDS, SWEEP_AT_MS, SETTINGS_VERSION =
  1, 2, 3, 4, 5, 6, 7, 8
-- Places in a PACE, whose rates' are those of a STATE.
local KEY_OPEN_HOLDS = 5
-- Places in AMOUNTS; in a WINDOW they follow USED and HELD, in a HOLD its lease.
local REQUESTS, TOKENS, COST_NUSD = 1, 2, 3
local USED, HELD = 0, 3
local LEASE_UNTIL_MS = 1

-- What a lease has more when its request has no place in flight any more.
local PLACELESS = 0.5

-- Whether a request with this lease has a place in flight.
local function has_place(lease) return lease > 0 and lease % 1 == 0 end

-- Of a tenant that is not known nothing is taken.
local function read_state(packed)
  if packed then return {struct.unpack(STATE, packed)} end
  return {0, 0, 0, 0, -1, 0, math.huge, -1}
end

-- Keeps the tenant for so long at least.
local function keep_for(kept_ms)
  if redis.call('PTTL', KEYS[1]) < kept_ms then redis.call('PEXPIRE', KEYS[1], kept_ms) end
end
