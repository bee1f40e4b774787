# Print shell commands that set E3's own environment, and report on standard error what they
# override. In awk, which gets the variables without parsing their values:
#
#     eval "$(E3_AT=... E3_FOR=shell awk -f scripts/bin/environment.awk)"
#
# E3_FOR is `shell` for a person's shell, `process` for one of E3's own processes, `setup` for
# the set-up. With E3_TOLD=1 nothing is reported, as the caller has reported it.

BEGIN {
    root = ENVIRON["E3_AT"]
    purpose = ENVIRON["E3_FOR"]

    # All of a stack is in this folder, also which stack is selected.
    set("PULUMI_HOME", root "/.e3/pulumi")
    set("PULUMI_CONFIG_PASSPHRASE_FILE", root "/.e3/passphrase")
    # No plugin is ever downloaded: looking for them takes 2 s of each command.
    if (purpose != "setup") set("PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION", "true")
    else keep("PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION")
    set("PULUMI_SKIP_UPDATE_CHECK", "true")
    # What E3 reads and writes is UTF-8, whatever the locale.
    set("PYTHONUTF8", "1")

    # With another backend, passphrase, stack or format of state E3's own stacks could not be found
    # or read. These two variables are harmless.
    keep("PULUMI_ACCESS_TOKEN PULUMI_DEBUG_GRPC")
    drop_all("^PULUMI_")
    # Other modules, encodings, warnings: these are harmless.
    keep("PYTHONASYNCIODEBUG PYTHONDONTWRITEBYTECODE PYTHONFAULTHANDLER PYTHONHASHSEED")
    keep("PYTHONNOUSERSITE PYTHONPROFILEIMPORTTIME PYTHONPYCACHEPREFIX PYTHONTRACEMALLOC")
    keep("PYTHONUNBUFFERED")
    drop_all("^PYTHON")
    spare_loopback()

    if (purpose != "shell") {
        # Settings of a person's terminal, on which no process of E3's may depend.
        forget("BASH_ENV CDPATH ENV GREP_OPTIONS POSIXLY_CORRECT VIRTUAL_ENV VIRTUAL_ENV_PROMPT")
        # Set inside hooks of git, where they lead to another repository.
        forget("GIT_COMMON_DIR GIT_DIR GIT_INDEX_FILE GIT_NAMESPACE GIT_OBJECT_DIRECTORY")
        forget("GIT_PREFIX GIT_WORK_TREE")
    }
    if (purpose == "setup") {
        # This machine decides where packages and modules come from; the pins decide what is
        # built of them, and where.
        keep("PIP_CACHE_DIR PIP_CERT PIP_CLIENT_CERT PIP_CONFIG_FILE PIP_DEFAULT_TIMEOUT")
        keep("PIP_DISABLE_PIP_VERSION_CHECK PIP_EXTRA_INDEX_URL PIP_FIND_LINKS PIP_INDEX_URL")
        keep("PIP_KEYRING_PROVIDER PIP_NO_CACHE_DIR PIP_NO_INDEX PIP_NO_INPUT PIP_PROXY")
        keep("PIP_RETRIES PIP_ROOT_USER_ACTION PIP_TIMEOUT PIP_TRUSTED_HOST PIP_USE_FEATURE")
        drop_all("^PIP_")
        keep("GOAUTH GOCACHE GOENV GOINSECURE GOMODCACHE GONOPROXY GONOSUMDB GOPRIVATE GOPROXY")
        keep("GOSUMDB GOTELEMETRY GOTMPDIR GOVCS")
        drop_all("^GO[0-9A-Z]+$|^CGO_")
        # E3 searches the messages of tools.
        print "export LC_ALL=C.UTF-8"
    }
    tell()
}

# Set a variable; do not report a value that an E3 in another folder has set.
function set(name, value) {
    wanted[name] = 1
    if (name in ENVIRON && ENVIRON[name] == value) return
    if (name in ENVIRON && ENVIRON[name] !~ /\/\.e3\/(pulumi|passphrase)$/) told(name)
    print "export " name "=" quoted(value)
}

function keep(names,    list, i, n) {
    n = split(names, list, " ")
    for (i = 1; i <= n; i++) wanted[list[i]] = 1
}

function drop_all(pattern,    name) {
    for (name in ENVIRON)
        if (name ~ pattern && name ~ /^[A-Za-z_][A-Za-z0-9_]*$/ && !(name in wanted)) {
            wanted[name] = 1
            print "unset " name
            if (name == "PYTHONIOENCODING" && tolower(ENVIRON[name]) ~ /^utf-?8$/) continue
            # scripts/bin/pulumi has set them, for a program that calls `pulumi` itself
            if (name == "PYTHONPATH" && ENVIRON[name] == root) continue
            if (name == "PULUMI_PYTHON_CMD" && ENVIRON[name] ~ /\/scripts\/python-for-pulumi$/) continue
            told(name)
        }
}

function forget(names,    list, i, n) {
    n = split(names, list, " ")
    for (i = 1; i <= n; i++) if (list[i] in ENVIRON) print "unset " list[i]
}

# Engine and providers use gRPC over loopback, which must not go through a proxy; other traffic
# still does. gRPC does not support `*`.
function spare_loopback(    name, proxied, lower, upper, own) {
    for (name in ENVIRON)
        if (tolower(name) ~ /^(all|grpc|http|https)_proxy$/ && ENVIRON[name] != "") proxied = 1
    if (!proxied) return
    lower = ENVIRON["no_proxy"]
    upper = ENVIRON["NO_PROXY"]
    own = ENVIRON["no_grpc_proxy"]
    spare("no_proxy", lower != "" ? lower : upper)
    spare("NO_PROXY", upper != "" ? upper : lower)
    spare("no_grpc_proxy", own != "" ? own : lower != "" ? lower : upper)
}

function spare(name, value,    list, i, n, known) {
    if (value ~ /^ *\* *$/ && name != "no_grpc_proxy") return
    n = split(value, list, ",")
    for (i = 1; i <= n; i++) known[list[i]] = 1
    n = split("localhost 127.0.0.1 ::1", list, " ")
    for (i = 1; i <= n; i++)
        if (!(list[i] in known)) value = value (value == "" ? "" : ",") list[i]
    if (value != ENVIRON[name]) print "export " name "=" quoted(value)
}

function quoted(text) {
    gsub(/\047/, "\047\\\047\047", text)
    return "\047" text "\047"
}

function told(name,    i) {
    for (i = overridden++; i > 0 && list_of[i - 1] > name; i--) list_of[i] = list_of[i - 1]
    list_of[i] = name
}

function tell(    i, names) {
    if (!overridden || (ENVIRON["E3_TOLD"] != "" && purpose != "setup")) return
    for (i = 0; i < overridden; i++) names = names (i ? ", " : "") list_of[i]
    print "E3: decides itself, against this environment: " names > "/dev/stderr"
}
