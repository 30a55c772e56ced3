-- A tenant, one hash, KEYS[1]: lost whole or not at all. Its fields:
--   g                generation of the cache
--   s                packed: {ms, ticks} of the rate of requests, {ms, ticks} of that of tokens, the epoch, open holds, when
--                    the next sweep is due (Unix ms), and the settings version
--   d<ms> m<ms>      a window that is known, by when it starts; packed: used requests, tokens, nano-US-dollar, and held
--   o:<window>       packed: the part of what is used that was admitted without the store, in the same units
--   k:<window>       a window that is not known is closed until (Unix ms)
--   h:<request>      a hold; packed: lease_ends_ms, requests, tokens, nano-US-dollar; then its windows as text
--                    "d<ms>-<resets_ms>,m<ms>-<resets_ms>". One whose lease has ended is charged already and stays until the
--                    ledger has heard of it: in place of the lease stands when it was told, below 0 (-Unix ms)
--   m                until when there may be marks of requests that are done with (Unix ms)
-- The epoch is a random number, another one each time the tenant is begun anew, by the first admission after it was lost.
-- Whoever heard of an admission that was sent once knows its epoch: if there is no such hold in that epoch, then it is
-- ended. So only the others leave marks. And what the ledger says of a window may be told to the epoch that asked for it.
--
-- What is packed, here and in ARGV, are doubles of eight bytes, the least significant first: text would have to be made of
-- each number and read again. Sums saturate at 2^53, beyond which doubles have gaps.
--
-- Functions are made anew at each call of a script, and so is whatever they share with it: hence they are few, and take
-- all they need as arguments.

local MOST = 9007199254740992
local STATE, WINDOW, HOLD = '<dddddddd', '<dddddd', '<ddddc0'
local EPOCH_AT, DUE_AT = 33, 49 -- the places, in bytes, of the epoch and of when the next sweep is due
-- The state of a tenant that is not known: nothing is taken, no sweep is due, epoch and settings version are -1.
local NEW = '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\240\191\0\0\0\0\0\0\0\0\0\0\0\0\0\0\240\127\0\0\0\0\0\0\240\191'
