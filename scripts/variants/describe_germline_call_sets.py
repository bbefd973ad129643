"""List a site's germline call sets, and how consequences are predicted from them."""

from ihdsi.files import write_text
from ihdsi.logs import log_to
from ihdsi.variants.germline import consequence_options

log_to(snakemake.log[0])
call_sets = list(snakemake.input.call_sets)
write_text("".join(f"{path}\n" for path in call_sets), snakemake.output.call_sets)
write_text(consequence_options(call_sets) + "\n", snakemake.output.options)
