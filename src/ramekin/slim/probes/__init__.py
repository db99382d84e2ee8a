"""Asking a running container questions, and telling whether another one answers the same.

    model      probes as values
    form       the YAML file that people write them in
    words      the probes of a command line
    asking     a whole plan put to one container, in its order
    http, commands, crawl, accesslog, health     one kind of probe each
    answer     what came back
    body       bodies of HTTP as text that can be compared
    masks      what differs between two answers of one program to one question: dates, ids, tokens
    compare    the answers of two images

Probes add up: none replaces another. All of a plan are put to each image, in the same order, each image being
started anew, so that what they leave behind is the same too.
"""
