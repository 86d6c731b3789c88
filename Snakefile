"""The workflow is workflow/Snakefile, which other workflows import; here it runs by itself."""


include: "workflow/Snakefile"


workflow.default_target = "all"  # an include leaves the default target as it was
