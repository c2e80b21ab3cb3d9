"""Why a routine did not run, or not well: the links from due to delivered, and the first one that is broken."""
