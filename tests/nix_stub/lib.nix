# The part of nixpkgs' lib that E3 uses, so that its modules can be evaluated without nixpkgs.
# Definitions are looked up by path, lazily: the condition of a mkIf is asked for only where
# its content matters, as otherwise a module could not set what it depends on.
let
  inherit (builtins) all any attrNames concatMap elem filter foldl' functionArgs genList hasAttr head isAttrs isBool isFunction isList isPath isString length listToAttrs map match tail toJSON;
  tagged = tag: value: isAttrs value && value ? _type && value._type == tag;
  unique = foldl' (known: x:
    if elem x known
    then known
    else known ++ [x]) [];
  isPackage = value: isAttrs value && value ? outPath;

  types = {
    bool = isBool;
    str = isString;
    package = isPackage;
    listOf = inner: value: isList value && all inner value;
    nullOr = inner: value: value == null || inner value;
    strMatching = pattern: value: isString value && match pattern value != null;
  };

  # every definition at `path` below one value, with its priority and whether it holds
  definitions = path: holds: priority: value:
    if tagged "if" value
    then definitions path (holds && value.condition) priority value.content
    else if tagged "merge" value
    then concatMap (definitions path holds priority) value.contents
    else if tagged "override" value
    then definitions path holds value.priority value.content
    else if path == []
    then [{inherit holds priority value;}]
    else if isAttrs value && hasAttr (head path) value
    then definitions (tail path) holds priority value.${head path}
    else [];

  absent = {_type = "absent";};

  mergeLeaf = name: found: let
    highest =
      foldl' (a: d:
        if d.priority < a
        then d.priority
        else a)
      10000
      found;
    values = unique (map (d: d.value) (filter (d: d.priority == highest) found));
  in
    if found == []
    then absent
    else if all isList values
    then concatMap (value: value) values
    else if length values == 1
    then head values
    else throw "${name} is defined in different ways: ${toJSON values}";

  evaluate = {
    modules,
    arguments,
    foreign,
  }: let
    load = module:
      if isPath module
      then load (import module)
      else if isFunction module
      then module arguments'
      else module;
    isForeign = module: isString module;
    collect = module: let
      loaded = load module;
    in
      [loaded] ++ concatMap collect (filter (m: !isForeign m) (loaded.imports or []));
    all' = concatMap collect modules;
    imported = concatMap (m: filter isForeign (m.imports or [])) all';
    body = m:
      m.config
      or (
        if m ? options
        then {}
        else removeAttrs m ["imports" "_file"]
      );
    options = path: filter (tagged "option") (map (d: d.value) (concatMap (m: definitions path true 100 (m.options or {})) all'));
    value = path: let
      name = foldl' (a: b: "${a}.${b}") (head path) (tail path);
      found = concatMap (m: definitions path true 100 (body m)) all';
      declared = options path;
      # conditions depend on options of E3 alone, so only these must be found without asking them
      asked = filter (d: head path == "e3" || d.holds) found;
      below = filter (d: isAttrs d.value && !isPackage d.value) asked;
      names = unique (concatMap (d: attrNames d.value) below ++ optionNames path);
      leaf = mergeLeaf name (filter (d: d.holds) found
        ++ (
          if declared != [] && (head declared) ? default
          then [
            {
              holds = true;
              priority = 1500;
              value = (head declared).default;
            }
          ]
          else []
        ));
    in
      if declared != []
      then
        if leaf == absent || (head declared).type leaf
        then leaf
        else throw "${name}: ${toJSON leaf} is of a wrong type"
      else if below == [] && optionNames path == []
      then leaf
      else
        listToAttrs (map (key: {
            name = key;
            value = value (path ++ [key]);
          })
          names);
    optionNames = path:
      unique (concatMap (m:
        concatMap (d:
          if isAttrs d.value && !(tagged "option" d.value)
          then attrNames d.value
          else [])
        (definitions path true 100 (m.options or {})))
      all');
    roots = unique (concatMap (m: concatMap (d: attrNames d.value) (definitions [] true 100 (body m))) all' ++ optionNames []);
    config = listToAttrs (map (key: {
        name = key;
        value = value [key];
      })
      roots);
    arguments' =
      arguments
      // {
        inherit config;
        inherit lib;
        modulesPath = foreign;
      };
  in {
    inherit config imported;
  };

  # what is left when conditions that do not hold are
  present = value:
    if isList value
    then map present value
    else if isPackage value || !(isAttrs value)
    then value
    else
      listToAttrs (concatMap (name:
        if tagged "absent" value.${name}
        then []
        else [
          {
            inherit name;
            value = present value.${name};
          }
        ]) (attrNames value));

  lib = {
    inherit attrNames evaluate present types;
    mkOption = option: option // {_type = "option";};
    mkIf = condition: content: {
      _type = "if";
      inherit condition content;
    };
    mkMerge = contents: {
      _type = "merge";
      inherit contents;
    };
    mkDefault = content: {
      _type = "override";
      priority = 1000;
      inherit content;
    };
    mkForce = content: {
      _type = "override";
      priority = 50;
      inherit content;
    };
    filterAttrs = keep: set:
      listToAttrs (map (name: {
        inherit name;
        value = set.${name};
      }) (filter (name: keep name set.${name}) (attrNames set)));
    genAttrs = names: make:
      listToAttrs (map (name: {
          inherit name;
          value = make name;
        })
        names);
    lessThan = a: b: a < b;
    sort = builtins.sort;
    licenses.mit = "mit";
    optional = condition: value:
      if condition
      then [value]
      else [];
    versionAtLeast = a: b: builtins.compareVersions a b >= 0;
    makeLibraryPath = packages: foldl' (a: p: "${a}:${p}/lib") "" packages;
  };
in
  lib
