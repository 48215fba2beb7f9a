"""What `trainscape nfu` does.

Commands (`trainscape.commands.nfu_run` and others) parse and print; what they call stands here:

    config     an NFU of the catalogue, and `--set nfu.<field>=value`
    shape      a layer as text: `--shape conv:nx=32,ny=32,kx=3,ky=3,ni=48,no=40`
    target     what is asked for: layers by name, a model, a scenario, a program
    figures    what each layer costs, compulsory and scheduled      values   what it computes, beside float64
    listing    what a program does                                  trace    when
    space      points of a design space    explore   their figures, kept as they come    front   the points worth having
"""
