-- Which job it is that kills its workers. A worker that dies takes all its jobs with it, and only one may be at fault.
-- So a crash counts against a job only if its worker ran nothing else. A job whose workers died twice is a suspect: it
-- runs beside suspects only, a quarter as many as before. Each further crash leaves fewer, until it runs alone.
-- The hash of the turn knows of it:
-- `crashes`          how many workers died while they ran the turn
-- `crashes_alone`    how many of these ran nothing else
-- `company_limit`    how many jobs its worker may run at most, all of them suspects; absent until it is a suspect
-- `company`          how many jobs the worker of the running attempt runs at most; absent if nobody knows
-- The same fields with the prefix `persist_` know of the job that persists its answer.
-- Whoever buries that worker writes into `company` how many jobs it had, or `stopped` if it has stopped in order.

local SUSPICION = {'crashes', 'crashes_alone', 'company_limit'}
local UNKNOWN_COMPANY = 100

-- read_suspicion(values, first)
-- RETURNS a table: what is known of the job, from the values of the fields SUSPICION, which begin at `first`
local function read_suspicion(values, first)
    return {crashes = tonumber(values[first] or '0'), alone = tonumber(values[first + 1] or '0'),
            limit = values[first + 2] and tonumber(values[first + 2]) or nil}
end

-- add_crash(suspicion, company)
-- Counts the death of a worker that ran so many jobs; 0: nobody knows how many.
local function add_crash(suspicion, company)
    suspicion.crashes = suspicion.crashes + 1
    suspicion.alone = suspicion.alone + (company == 1 and 1 or 0)
    if suspicion.crashes > 1 then
        local quarter = math.max(math.floor((company == 0 and UNKNOWN_COMPANY or company) / 4), 1)
        suspicion.limit = math.min(suspicion.limit or quarter, quarter)
    end
end

-- may_run(suspicion, company)
-- RETURNS true if the job may run in a worker that runs so many jobs at most, all of them suspects; 0: any jobs
local function may_run(suspicion, company)
    return not suspicion.limit or (company > 0 and company <= suspicion.limit)
end

-- suspicion_fields(suspicion, prefix)
-- RETURNS the fields and values of a suspicion, in a row; the names of the fields begin with the prefix
local function suspicion_fields(suspicion, prefix)
    local fields = {prefix .. 'crashes', suspicion.crashes, prefix .. 'crashes_alone', suspicion.alone}
    if suspicion.limit then
        fields[5], fields[6] = prefix .. 'company_limit', suspicion.limit
    end
    return fields
end
