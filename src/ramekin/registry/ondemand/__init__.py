"""Images that are composed when somebody asks for their names.

    provider      names in, manifests out: what the registry talks to
      names       how packages are spelled in repository names, and what tags mean
      specs       the images of spec files
      orders      what is to be made of a name
      builds      answers at hand, one build for all who wait, failures remembered
      limits      how often one client may have something made
      workers     the processes that do the work, seen from the server
    worker        one of those processes
      kitchen     what it does: make, find, preview, search, draw

The server never does work that takes longer than a look into a dictionary; everything else is asked of a
worker process, so that answers at hand are given at once while images are made, and one that takes too
long can be ended.
"""
